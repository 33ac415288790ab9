"""The shared training loop. `config` is free of torch; `loop.train` trains any family's model.

| file | what |
| --- | --- |
| config.py | the options |
| loop.py | the loop, and what it gives |
| divergence.py | what it says when training diverges |
| feed.py | batches in the keyed global order, by position |
| adam.py | torch's fused Adam with little around it |
| optimizers.py | what `Model.train_step` is handed: precision, clipping, accumulation, learning-rate schedule |
| group.py | the workers that share each batch, and what they say to each other |
| share.py | which examples of a batch a worker takes, and in which micro-batches |
| gradients.py, whole_batch.py | sums over the workers: of gradients, and of what families gather |
| assignment.py | a training as plain data, and the work itself |
| ray_train.py, ray_leftovers.py | groups that Ray Train starts, and what killed ones leave |
| terms.py | loss terms, made means over the global batch when they are logged |
| validation.py | looks at held-out examples; early stopping |
| pace.py | when workers compare notes, and when a checkpoint is due |
| agreement.py | the check that all workers hold the same state |
| state.py | the whole state of a training, put together and given to every worker |
| checkpoints.py | whole-state checkpoints, published atomically, verified before they are used |
"""
