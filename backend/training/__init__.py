"""Train the embedded model from nothing, and on top of it a LoRA for few steps and HcP layers; measure what came of it."""
