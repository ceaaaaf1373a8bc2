"""What `coursework check` says: one remark for each mistake that is often made, in plain words.

A remark says what is observed, never what to write. Its kind is what differs: the shape, the values, the
gradient, what is hidden (masking), what must not be seen (leakage), or training mode (dropout).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["to do", "error", "shape", "value", "gradient", "masking", "leakage", "dropout"]


@dataclass(frozen=True)
class Remark:
    """Feedback.

    Attributes:
        kind: What differs.
        words: The remark, a sentence or two.
    """

    kind: Kind
    words: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.words}"


NO_GRADIENT = Remark("gradient", "The output has no gradient: something detaches it.")

# --- LSTM --------------------------------------------------------------------------------------

GATE_ORDER = Remark(
    "value",
    "The gates are right, but in another order than PyTorch's: compare which block of rows of the "
    "weights belongs to which gate.",
)
FORGET_INVERTED = Remark(
    "value", "The forget gate works the wrong way round: where it is open, the old state is lost."
)
BIAS_SHARED = Remark(
    "value", "One bias vector is used twice: input and hidden state have a bias of their own."
)
BIAS_MISSING = Remark("value", "A bias vector is missing: there are two of them, and both count.")
CANDIDATE_SIGMOID = Remark(
    "value", "The candidate has the activation of a gate, so the cell state can only ever grow."
)
STATE_NOT_SQUASHED = Remark(
    "value", "The hidden state shows the cell state as it is; look at equation (6) once more."
)
OLD_STATE_SHOWN = Remark(
    "value", "The hidden state is made from the cell state before the step, not after it."
)
STATES_SWAPPED = Remark("value", "The two states come back in the wrong order.")
STATE_IGNORED = Remark(
    "value", "The state that is passed in has no influence: every run starts from zero."
)
HIDDEN_IGNORED = Remark("value", "The hidden state has no influence on the gates.")
LAYERS_READ_INPUT = Remark(
    "value", "Every layer reads the input; from the second on each should read the layer below it."
)
BACKWARD_NOT_TURNED = Remark(
    "value",
    "The backward direction's outputs are in the order of reading: at each time step the two "
    "directions must speak of the same word.",
)
BACKWARD_READS_FORWARDS = Remark(
    "value", "The second direction also reads from the first step to the last."
)
DIRECTIONS_SWAPPED = Remark("value", "The two directions are joined in the wrong order.")
UNEQUAL_LENGTHS = Remark(
    "masking",
    "With sequences of unequal length the result differs from that of each sequence on its own: look "
    "at what happens when one of them ends before the others.",
)
DROPOUT_LAST = Remark(
    "dropout", "Dropout acts on the output of the last layer; it belongs between the layers only."
)

# --- dropout, anywhere -------------------------------------------------------------------------

DROPOUT_IN_EVAL = Remark("dropout", "In eval mode the result is still random: dropout is not off.")
DROPOUT_NEVER = Remark("dropout", "In training mode nothing is dropped.")
DROPOUT_PLACE = Remark("dropout", "In training mode dropout acts at another place than it should.")

# --- attention ---------------------------------------------------------------------------------

SOFTMAX_AXIS = Remark(
    "value",
    "The weights sum to one over the wrong axis: each query should share its attention out among "
    "the keys.",
)
NO_SCALE = Remark("value", "The scores are not scaled, so they grow with the width of the keys.")
SCALE_WRONG = Remark(
    "value", "The scores are scaled, but by another power of the width than the paper's."
)
SCALE_IGNORED = Remark("value", "The argument scale has no influence on the weights.")
WEIGHTS_NOT_USED = Remark(
    "value", "The weights are right, but the values are not averaged by them."
)
COSINE_NOT_NORMALISED = Remark(
    "value", "With similarity='cosine' the weights still depend on the length of the vectors."
)
COSINE_HALF = Remark(
    "value", "With similarity='cosine' only one of queries and keys has its length taken out."
)
COSINE_SCALED = Remark(
    "value", "With similarity='cosine' the scores are scaled as if they were dot products."
)
MASK_INVERTED = Remark(
    "masking", "The mask is read the wrong way round: True should mean that a key may be seen."
)
MASK_IGNORED = Remark("masking", "The mask has no influence.")
MASK_AFTER_SOFTMAX = Remark(
    "masking",
    "Masked weights are zero, but the rows no longer sum to one: the mask comes too late.",
)
MASK_BY_ZERO = Remark(
    "masking", "A masked key has the score zero, which still gives it a weight of its own."
)
EMPTY_ROW = Remark(
    "masking", "A query that may attend to nothing gets NaN or weights; it should get zeros."
)
PADDING_READ = Remark("masking", "Padding is read as if it were words: the mask does not arrive.")
CAUSAL_STRICT = Remark("leakage", "The causal mask is off by one: a position cannot see itself.")
CAUSAL_LATE = Remark(
    "leakage", "The causal mask is off by one: a position sees the one that comes next."
)
CAUSAL_TURNED = Remark("leakage", "The causal mask shows the future and hides the past.")
CAUSAL_OPPOSITE = Remark("leakage", "The causal mask says True where a position may not look.")
FUTURE_SEEN = Remark(
    "leakage", "What comes later in the sequence changes what was computed for earlier positions."
)
HEADS_NOT_JOINED = Remark(
    "value",
    "The heads are computed, but joined across positions: each position's heads belong side by side.",
)
HEADS_CUT_ACROSS = Remark(
    "value",
    "The heads are cut out across positions: each should get its own columns of every word.",
)
NO_OUTPUT_MAP = Remark("value", "The heads are joined, but the last linear map is missing.")

# --- Transformer -------------------------------------------------------------------------------

RESIDUAL_FORGOTTEN = Remark(
    "value", "The residual connection is missing: a sub-layer replaces what it should add to."
)
RESIDUAL_ONCE = Remark("value", "One of the sub-layers has no residual connection.")
NORM_BEFORE_SUM = Remark(
    "value", "The sub-layer's output is normalised before it is added, not the sum."
)
NORM_MISSING = Remark("value", "The layer normalisation is missing.")
NORM_AXIS = Remark(
    "value",
    "The normalisation runs over the wrong axis: it should make each position's own features even.",
)
NORM_SHARED = Remark("value", "One normalisation is used twice; each sub-layer has its own.")
NORM_ORDER_SWAPPED = Remark(
    "value", "norm_first=True and False are the wrong way round, or one of them is ignored."
)
ACTIVATION_MISSING = Remark(
    "value", "An activation is missing: two linear maps in a row are no more than one."
)
FEED_FORWARD_MISSING = Remark("value", "The feed-forward network is left out.")
CROSS_READS_ITSELF = Remark(
    "value", "The cross-attention looks at the target; it should look at the encoder's output."
)
CROSS_MISSING = Remark("value", "The encoder's output has no influence on the decoder.")
SINES_IN_HALVES = Remark(
    "value",
    "Sines fill the first half of the columns and cosines the second; they should take turns.",
)
SINE_COSINE_SWAPPED = Remark("value", "Sines and cosines stand in each other's columns.")
FREQUENCIES = Remark(
    "value",
    "Sines and cosines are in their places, but their frequencies fall too fast or too slowly.",
)
EMBEDDING_NOT_SCALED = Remark(
    "value", "The embeddings are not scaled before the positions are added (section 3.4)."
)
POSITIONS_MISSING = Remark("value", "The model cannot tell the order of the words.")
OFFSET_IGNORED = Remark(
    "value", "Word by word the decoder gives another result: mind the offset of the positions."
)

# --- graphs ------------------------------------------------------------------------------------

EDGE_DIRECTION = Remark(
    "value",
    "The edges are read in the wrong direction: information flows from source (row 0) to target (row 1).",
)
DUPLICATES = Remark("value", "A neighbour that several edges lead to is listed several times.")
ITSELF = Remark("value", "The node is listed among its own neighbours.")
NOT_SORTED = Remark("value", "The right nodes, but not in ascending order.")
ONE_DIRECTION_ONLY = Remark(
    "value", "With direction='both' only one of the two directions is looked at."
)
DIRECTED_SEARCH = Remark(
    "value", "The search follows the edges in their direction only; a component ignores directions."
)
COMPONENTS_MERGED = Remark("value", "Nodes that no path connects are in one component.")
COMPONENTS_SPLIT = Remark("value", "Nodes that a path connects are in different components.")
NUMBERING = Remark(
    "value",
    "The components are right, but they are not numbered in the order of their smallest node.",
)
SEARCH_TOO_DEEP = Remark(
    "error",
    "A long path ends in an error: a search that calls itself cannot go thousands of nodes deep.",
)
LARGEST_NODES = Remark("value", "These are not the nodes of the largest component.")
LARGEST_TIE = Remark(
    "value", "Of two components of the same size the one with the smallest node should be taken."
)
NOT_RENUMBERED = Remark(
    "value", "The subgraph's edges still have the numbers that their nodes have in the whole graph."
)
NOT_DIVIDED = Remark("value", "With 'mean' the vectors are added up but not divided.")
DIVIDED_ALWAYS = Remark("value", "With 'sum' the vectors are divided as for the mean.")
DIVIDED_BY_OUT_DEGREE = Remark(
    "value", "The mean divides by the edges that leave a node, not by those that end in it."
)
DIVIDED_BY_NODES = Remark("value", "The mean divides by the number of all nodes.")
ISOLATED = Remark("value", "A node without neighbours gets NaN; it should get zeros.")
OVERWRITTEN = Remark(
    "value",
    "Where several edges end in one node only one of them counts: they overwrite each other.",
)
OWN_TERM_MISSING = Remark("value", "The node's own features are left out.")
NEIGHBOURS_MISSING = Remark("value", "The neighbours have no influence.")
WEIGHTS_SWAPPED = Remark(
    "value",
    "The two weight matrices are swapped: one is for the neighbours, one for the node itself.",
)
NOT_ACTIVATED = Remark("value", "The activation at the end is missing.")
LOOPS_MISSING = Remark("value", "The self-loops are missing: a node forgets its own features.")
LOOPS_DOUBLED = Remark("value", "A node that already had a self-loop now has two.")
LOOPS_NOT_IN_DEGREE = Remark(
    "value", "The self-loops are in the matrix, but the degrees were counted without them."
)
ROW_NORMALISED = Remark(
    "value",
    "Every row sums to one: this is a mean, not the symmetric normalisation that is asked for.",
)
COLUMN_NORMALISED = Remark(
    "value", "Every column sums to one; the normalisation should be symmetric."
)
NOT_NORMALISED = Remark("value", "The matrix is not normalised by the degrees.")
ROOT_MISSING = Remark(
    "value", "The entries are symmetric, but too small: mind the exponent of the degrees."
)
NOT_PROPAGATED = Remark("value", "The adjacency matrix has no influence: a node sees only itself.")
PROPAGATED_TWICE = Remark("value", "The adjacency matrix is applied twice in one layer.")
BIAS_PLACE = Remark(
    "value",
    "The bias is added after the sum over the neighbours in place of before it, or the reverse.",
)
LAST_ACTIVATED = Remark(
    "value", "The last layer has an activation; logits may have any sign and size."
)
SOFTMAX_AT_END = Remark(
    "value", "The output went through a softmax; the loss expects the logits as they are."
)
SLOPE = Remark(
    "value", "The leaky ReLU has another slope than alpha (PyTorch's default is not the layer's)."
)
SCORES_NOT_ACTIVATED = Remark("value", "The scores do not go through the leaky ReLU.")
ACTIVATED_APART = Remark(
    "value", "The leaky ReLU acts on the two halves of the score, not on their sum."
)
ENDS_SWAPPED = Remark(
    "value", "The two halves of the score are swapped: one meets the target, one the source."
)
SOFTMAX_OUTGOING = Remark(
    "value",
    "The weights sum to one over the edges that leave a node; they should over those that end in it.",
)
SOFTMAX_ALL_EDGES = Remark("value", "The softmax runs over all edges of the graph at once.")
OVERFLOW = Remark("value", "Large scores give NaN or infinity: the exponential overflows.")
OWN_MESSAGES = Remark(
    "value", "The weights multiply the node's own features in place of its neighbours'."
)
HEADS_INTERLEAVED = Remark(
    "value", "The heads are mixed feature by feature; each head's features belong together."
)
HEADS_SUMMED = Remark("value", "The heads are added up where their mean is asked for.")
HEADS_WRONG_WAY = Remark(
    "shape",
    "is_concat is read the wrong way round: heads are averaged where they should be concatenated.",
)
VECTORS = Remark(
    "shape", "The attention vectors have the wrong number of rows: mind heads and share_attention."
)
STRANGERS_SEEN = Remark("leakage", "A node that is no neighbour changes a node's output.")
HIDDEN_ACTIVATION = Remark("value", "The hidden layer has another activation than ELU, or none.")

# --- U-Net -------------------------------------------------------------------------------------

RETURNED_SWAPPED = Remark("shape", "The pooled features and the skip connection are swapped.")
SKIP_POOLED = Remark(
    "shape", "The skip connection is taken after the pooling; it should be before."
)
SKIP_RAW = Remark(
    "shape", "The skip connection is the input; it should have gone through the block."
)
AVERAGED = Remark("value", "The pooling takes the mean of each square, not its maximum.")
DOUBLE_CONVOLUTION = Remark(
    "value",
    "The block is computed twice in one pass: the batch statistics are updated twice, at twice the cost.",
)
BLOCK_NO_RELU = Remark("value", "The block ends without its activation.")
BLOCK_NO_NORM = Remark("value", "The block does not normalise.")
BLOCK_ORDER = Remark("value", "Normalisation and activation of the block are in the wrong order.")
CONCATENATION_ORDER = Remark(
    "value",
    "The skip connection is concatenated in front of the upsampled features, not behind them.",
)
SKIP_UNUSED = Remark("value", "The skip connection has no influence.")
SKIPS_ORDER = Remark(
    "shape", "The skip connections arrive in the wrong order: the last one made is needed first."
)
SKIPS_STAY = Remark("value", "disable_skip_connections has no influence.")
SKIPS_ALWAYS_OFF = Remark("value", "The skip connections are zero although they are not disabled.")
BOTTLENECK_MISSING = Remark("value", "The bottleneck is left out.")
CUT_WRONG_SIDE = Remark(
    "value", "For sides that do not divide, the image is padded or cut at the wrong side."
)
