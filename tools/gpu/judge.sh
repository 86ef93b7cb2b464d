#!/usr/bin/env bash
# Train the judge of `beyondscene evaluate` on a CUDA GPU, a slice of time per call: train.sh with its arguments.
exec "$(dirname "$0")/train.sh" judge "$@"
