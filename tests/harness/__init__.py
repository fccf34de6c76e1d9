"""What the tests share: a real nginx in a folder of its own, and clients that see every byte."""
