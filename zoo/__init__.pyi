from zoo.errors import DatasetError as DatasetError
from zoo.errors import ZooError as ZooError
from zoo.hookspecs import hookimpl as hookimpl
from zoo.metrics import Metric as Metric
from zoo.model import Checkpoint as Checkpoint
from zoo.model import Dataset as Dataset
from zoo.model import Images as Images
from zoo.model import Model as Model
from zoo.model import Params as Params
from zoo.model import Report as Report
from zoo.model import Step as Step
from zoo.model import Stop as Stop
from zoo.model import Table as Table
from zoo.model import param as param
from zoo.notebook.compared_results import ComparedResults as ComparedResults
from zoo.notebook.functions import compare as compare
from zoo.notebook.functions import evaluate as evaluate
from zoo.notebook.functions import export_model as export_model
from zoo.notebook.functions import get_job as get_job
from zoo.notebook.functions import get_leaderboard as get_leaderboard
from zoo.notebook.functions import list_jobs as list_jobs
from zoo.notebook.functions import list_models as list_models
from zoo.notebook.functions import load_model as load_model
from zoo.notebook.functions import note_jobs as note_jobs
from zoo.notebook.functions import pin_jobs as pin_jobs
from zoo.notebook.functions import remove_jobs as remove_jobs
from zoo.notebook.functions import sweep as sweep
from zoo.notebook.functions import tag_jobs as tag_jobs
from zoo.notebook.functions import train as train
from zoo.notebook.handles import GroupHandle as GroupHandle
from zoo.notebook.handles import JobHandle as JobHandle
from zoo.notebook.trained_model import TrainedModel as TrainedModel

__version__: str
__all__ = [
    "Checkpoint",
    "ComparedResults",
    "Dataset",
    "DatasetError",
    "GroupHandle",
    "Images",
    "JobHandle",
    "Metric",
    "Model",
    "Params",
    "Report",
    "Step",
    "Stop",
    "Table",
    "TrainedModel",
    "ZooError",
    "__version__",
    "compare",
    "evaluate",
    "export_model",
    "get_job",
    "get_leaderboard",
    "hookimpl",
    "list_jobs",
    "list_models",
    "load_model",
    "note_jobs",
    "param",
    "pin_jobs",
    "remove_jobs",
    "sweep",
    "tag_jobs",
    "train",
]
