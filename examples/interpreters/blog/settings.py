"""The settings of the blog."""

TITLE = "The blog"
POSTS = ["Two interpreters in one process", "The first post"]
