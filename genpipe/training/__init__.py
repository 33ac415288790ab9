"""The shared training loop. `config` is free of torch; `loop.train` trains any family's model.

| file | what |
| --- | --- |
| config.py | the options |
| loop.py | the loop, what it gives, and what it says when training diverges |
| feed.py | batches in the keyed global order, micro-batch by micro-batch |
| optimizers.py | what `Model.train_step` is handed: precision, clipping, accumulation, learning-rate schedule |
| checkpoints.py | whole-state checkpoints, published atomically, verified before they are used |
"""
