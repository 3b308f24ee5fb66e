"""The error tree. Each message says what is wrong, where, and the next command to run."""


class GenlError(Exception):
    """A mistake the user can mend: shown as one line, exit code 2, nothing lost."""


class ConfigError(GenlError):
    """A setting or a command line that cannot be used."""


class DocumentError(GenlError):
    """A file that cannot be read as a document or a row that breaks its format."""


class IndexStateError(GenlError):
    """An index that is missing, damaged or built with other settings."""


class WeightsError(GenlError):
    """Model weights that are missing, damaged or cannot be fetched."""


class ServingError(GenlError):
    """The model server failed to start, died, or answered with an error."""


class DatasetError(GenlError):
    """Training data that cannot be used: the file, the line, and what is wrong with it."""


class TrainingError(GenlError):
    """A training run that cannot start, go on or be used."""
