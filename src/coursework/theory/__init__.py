"""The numeric check behind each proof of the theory questions: one module per claim.

- ``relu_chain`` (1.1.1, 1.1.2): gradient bounds of a deep network with one unit per layer.
- ``sigmoid_rnn`` (1.2.1): largest singular value of the Jacobian of a sigmoid recurrence.
- ``kernel_attention`` (1.3.1): attention with a kernel similarity in time O(n).
- ``low_rank_attention`` (1.3.2, 1.3.3): attention with a matrix of rank k in time O(nkd).
- ``convolution_attention`` (1.4.1): self-attention with a position bias that equals a convolution.
- ``pooling_attention`` (1.4.2): self-attention with arg max that equals max-pooling.
- ``almost_orthogonal`` (2.1.1): exponentially many almost orthogonal vectors.
- ``similarity`` (2(b) of the other homework): attention against kernels.
- ``self_attention`` (2(c) of the other homework): cost and permutation equivariance.

Two helpers serve all of them: ``checks`` (the record of one check) and ``cost`` (arithmetic and
memory, counted by running the code). ``claims`` lists every claim with its check and with wrong
versions, which ``wrong`` holds. A check takes the object that it tests as an argument wherever
that is possible, so that a wrong version can be put in its place and has to fail.
"""
