"""Errors a user may see, each one sentence: what is wrong with which file or node, and what to do."""


class BreastCMSLError(Exception):
    """Base of every expected failure. The command line prints the message and exits with status 2."""


class InputError(BreastCMSLError):
    """The exam cannot be used: the message names the file, series or node, and the remedy."""


class ModelError(BreastCMSLError):
    """The model bundle is missing, altered, or not made for this version."""


class OutputError(BreastCMSLError):
    """Results cannot be written where the user asked."""


class DependencyError(BreastCMSLError):
    """A component is not installed or cannot start: the message says how to get it."""


class Cancelled(BreastCMSLError):
    """The user stopped the analysis; nothing was written."""
