"""Networks that several families are made of: encoders and decoders for events of any size, MADE.

None normalises over the batch: what becomes of an example is its own affair, whatever batch or worker it is in.
"""
