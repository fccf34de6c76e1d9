"""The settings of the shop."""

TITLE = "The shop"
CURRENCY = "EUR"
PRICES = {"teapot": 24, "tea": 6}
