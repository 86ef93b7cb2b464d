"""Train the embedded model from nothing: procedural renders, VAE, segmenter, denoiser, export."""
