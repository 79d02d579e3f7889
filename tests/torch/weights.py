#!/usr/bin/python3
"""weights.py write|read FOLDER: the weights of a network on their way from PyTorch, and to it.

write: a network, trained a little, as FOLDER/torch.safetensors, and inputs with its outputs as FOLDER/torch_io.safetensors.
read:  loads FOLDER/xtgrad.safetensors, and compares the outputs with those of FOLDER/xtgrad_io.safetensors.
"""
import json
import struct
import sys

import torch

DTYPES = {"F32": torch.float32, "I64": torch.int64}


def read(path):
    data = open(path, "rb").read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    return {
        name: torch.frombuffer(bytearray(data[8 + length + t["data_offsets"][0] : 8 + length + t["data_offsets"][1]]), dtype=DTYPES[t["dtype"]]).reshape(t["shape"])
        for name, t in header.items()
    }


def write(path, tensors):
    header, data = {}, b""
    for name, t in tensors.items():
        raw = t.detach().contiguous().numpy().tobytes()
        dtype = next(key for key, value in DTYPES.items() if value == t.dtype)
        header[name] = {"dtype": dtype, "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


def network():
    return torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 3, bias=False), torch.nn.BatchNorm1d(3, affine=False)
    )


def main(command, folder):
    torch.manual_seed(0)
    net = network()
    if command == "write":
        optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
        for _ in range(5):
            optimizer.zero_grad()
            net(3 * torch.randn(16, 6) + 1).square().sum().backward()
            optimizer.step()
        x = torch.randn(7, 6)
        write(f"{folder}/torch.safetensors", net.state_dict())
        write(f"{folder}/torch_io.safetensors", {"x": x, "y": net.eval()(x)})
    else:
        net.load_state_dict(read(f"{folder}/xtgrad.safetensors"))
        io = read(f"{folder}/xtgrad_io.safetensors")
        difference = (net.eval()(io["x"]) - io["y"]).abs().max().item()
        print(f"weights: outputs of PyTorch and of this library differ by at most {difference:.1e}")
        assert difference <= 1e-6, difference


main(*sys.argv[1:])
