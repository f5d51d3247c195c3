"""The folder of a training run: what is written into it, and how it is read again."""
