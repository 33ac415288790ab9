"""What a run costs by the example, the shard, the task and the worker; and a run of 1,000 shards."""
