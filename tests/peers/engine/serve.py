"""llama.cpp's own HTTP server (OpenAI wire) around a tiny random model.

Prints `ready http://127.0.0.1:PORT` on a line of its own once it answers, and runs until it is killed
or its standard input is closed, so that it never outlives the test that started it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import xllamacpp

from tiny_model import write_tiny_model

MODEL_NAME = "tiny"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--slots", type=int, default=2, help="runs at the same time")
    parser.add_argument("--width", type=int, default=64, help="a multiple of 32; larger is slower")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--endless", action="store_true", help="never ends by itself, only at max_tokens")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="promptroom-engine-") as folder:
        path = Path(folder) / "tiny.gguf"
        write_tiny_model(path, width=arguments.width, layers=arguments.layers, seed=arguments.seed)
        server = xllamacpp.Server(parameters(path, arguments))
        print(f"ready {server.listening_address}", flush=True)
        sys.stdin.read()


def parameters(path: Path, arguments: argparse.Namespace) -> xllamacpp.CommonParams:
    chosen = xllamacpp.CommonParams()
    chosen.model.path = str(path)
    chosen.model_alias = {MODEL_NAME}
    chosen.port = arguments.port
    chosen.n_parallel = arguments.slots
    chosen.n_ctx = 16_384 * arguments.slots
    chosen.n_gpu_layers = 0
    chosen.cpuparams.n_threads = 1
    chosen.endpoint_slots = True
    chosen.endpoint_metrics = True
    chosen.sampling.ignore_eos = arguments.endless
    chosen.sampling.seed = arguments.seed
    chosen.warmup = False
    chosen.ui = False
    chosen.offline = True
    chosen.verbosity = 1
    return chosen


if __name__ == "__main__":
    main()
