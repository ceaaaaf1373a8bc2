"""Everything that is asked for in code, in the order of the problems."""

from coursework.student.checks import Task
from coursework.student.tasks import attention, gat, gcn, graphs, lstm, transformer, unet

TASKS: tuple[Task, ...] = (
    lstm.CELL,
    lstm.LSTM,
    attention.MASK,
    attention.ATTENTION,
    attention.HEADS,
    transformer.POSITIONS,
    transformer.ENCODER,
    transformer.DECODER,
    transformer.TRANSFORMER,
    graphs.NEIGHBOURS,
    graphs.COMPONENTS,
    graphs.LARGEST,
    graphs.AGGREGATE,
    graphs.CONVOLUTION,
    gcn.ADJACENCY,
    gcn.CONVOLUTION,
    gcn.GCN,
    gat.LAYER,
    gat.GAT,
    unet.DOWN,
    unet.UP,
    unet.UNET,
)
"""Every task; their checks are in the modules beside this one."""
