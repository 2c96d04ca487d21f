# The numbers behind the names of activations, losses, optimisers and layers, in the order of the tuples in fastbp/layers.py,
# fastbp/losses.py and fastbp/optimizers.py. A test compares the two.

cdef enum:
    IDENTITY, RELU, LEAKY_RELU, ELU, SELU, GELU, GELU_TANH, SILU, SOFTPLUS, SIGMOID, HARD_SIGMOID, TANH, SOFTSIGN, EXP, SOFTMAX

cdef enum:
    MSE, MAE, HUBER, QUANTILE, POISSON, CROSS_ENTROPY, BINARY_CROSS_ENTROPY, HINGE, CLASS_HINGE, GIVEN_DELTA

cdef enum:
    SGD, ADAM, ADAMW, NADAM, RMSPROP, ADAGRAD, RPROP

cdef enum:
    DENSE, ACTIVATION, DROPOUT, LAYER_NORM, BATCH_NORM
