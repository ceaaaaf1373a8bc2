"""The project's own errors: each message is one sentence that names the file or key and the remedy."""


class CourseworkError(Exception):
    """Base of every error that a user can mend; the command line prints it without a traceback."""


class DataError(CourseworkError):
    """A data file is missing, truncated, corrupt, of the wrong format, or cannot be written."""


class ConfigError(CourseworkError):
    """An unknown experiment, preset, option or key, or a value of the wrong type."""


class TrainingError(CourseworkError):
    """A training cannot go on: loss not finite, checkpoint unusable."""


class ResultsError(CourseworkError):
    """A results file is missing or does not follow the schema."""
