"""The GPU side: models, the pipeline, training and the processes that serve them."""
