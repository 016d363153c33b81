"""The errors a user can mend: each names the file, the row or the key at fault, in one sentence."""


class RaClapError(Exception):
    """Base of every error that scripts print without a traceback."""


class ManifestError(RaClapError):
    """A manifest or corpus listing does not have the expected form."""


class AudioError(RaClapError):
    """A recording is missing, unreadable, empty, silent or not finite."""


class RecipeError(RaClapError):
    """A recipe has an unknown key, a wrong value or asks for what the data cannot give."""


class ModelFolderError(RaClapError):
    """A model folder is incomplete or cannot be loaded."""


class HubError(RaClapError):
    """The Hub cannot be reached, does not accept what is sent, or holds something else."""


class OnnxExportError(RaClapError):
    """A model cannot be written as ONNX, or what was written does not compute the same."""
