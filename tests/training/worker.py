"""Trains as the JSON config says and saves the final weights: `python worker.py CONFIG.json WEIGHTS.npz`."""

import sys

import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.training.train import train

if __name__ == "__main__":
    model = train(Config.from_json(sys.argv[1]), say=lambda line: print(line, flush=True))
    np.savez(sys.argv[2], *[variable.numpy() for variable in model.variables])
