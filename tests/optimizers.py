"""Optimisers for tests to run through: every kind, and every option of each."""

from dataclasses import replace

import fastbp as fb

# without penalties and clipping
PLAIN = [
    fb.SGD(0.05),
    fb.SGD(0.02, momentum=0.9),
    fb.SGD(0.02, momentum=0.9, nesterov=True),
    fb.Adam(),
    fb.Adam(0.01, betas=(0.8, 0.99), eps=1e-6),
    fb.Adam(0.01, betas=(0.8, 0.9), amsgrad=True),
    fb.AMSGrad(),
    fb.AdamW(),
    fb.AdamW(0.01, betas=(0.8, 0.99), eps=1e-6, amsgrad=True),
    fb.NAdam(),
    fb.NAdam(0.01, betas=(0.8, 0.99), eps=1e-6, momentum_decay=0.1),
    fb.RMSprop(),
    fb.RMSprop(0.002, alpha=0.9, eps=1e-6, momentum=0.8),
    fb.RMSprop(0.002, alpha=0.95, eps=1e-3, centered=True),
    fb.RMSprop(0.002, alpha=0.95, eps=1e-3, momentum=0.9, centered=True),
    fb.Adagrad(),
    fb.Adagrad(0.05, lr_decay=0.1, eps=1e-8, initial_accumulator_value=0.1),
    fb.Rprop(),
    fb.Rprop(0.001, etas=(0.4, 1.1), step_sizes=(1e-4, 0.01)),
]

PENALTIES = [
    {"weight_decay": 0.1},
    {"l1": 0.01},
    {"clip_norm": 0.1},
    {"clip_value": 0.02},
    {"weight_decay": 0.1, "l1": 0.01, "decay_bias": False, "clip_norm": 0.1, "clip_value": 0.02},
]


WITH_PENALTIES = [replace(optimizer, **penalties) for optimizer in PLAIN[1::2] for penalties in PENALTIES]
WITH_PENALTIES += [replace(fb.SGD(0.05), **penalties) for penalties in PENALTIES]  # of a batch of one row, too
WITH_PENALTIES += [fb.AdamW(decay_bias=False), fb.SGD(0.05, weight_decay=0.1, decay_bias=False)]
WITH_PENALTIES += [fb.SGD(0.05, clip_norm=1e9, clip_value=1e9)]  # both at rest

ALL = PLAIN + WITH_PENALTIES

# one of each kind of state and arithmetic, most of them with everything on
EVERYTHING = PENALTIES[-1] | {"l1": 0.001}  # 0.01 keeps weights at 0, where float32 cannot tell sign(w)
FEW = [
    fb.SGD(0.05, **EVERYTHING),
    fb.SGD(0.02, momentum=0.9, nesterov=True, **EVERYTHING),
    fb.AMSGrad(0.01, betas=(0.8, 0.9), eps=1e-3, **EVERYTHING),
    fb.AdamW(0.01, l1=0.001, decay_bias=False),
    fb.NAdam(0.01, betas=(0.8, 0.99), eps=1e-3, momentum_decay=0.1, **EVERYTHING),
    fb.RMSprop(0.002, alpha=0.9, weight_decay=0.1),
    fb.RMSprop(0.002, alpha=0.95, eps=1e-3, momentum=0.9, centered=True, **EVERYTHING),
    fb.Adagrad(0.05, lr_decay=0.1, initial_accumulator_value=0.1, **EVERYTHING),
]
RPROP = fb.Rprop(0.001, etas=(0.4, 1.1), step_sizes=(1e-4, 0.01), **EVERYTHING)


def needs_whole_batches(optimizer):
    return isinstance(optimizer, fb.Rprop)
