"""Makes the library and the `foresight` command installable with pip, without ROS.

A ROS workspace does not use this file: there CMakeLists.txt installs the same Python beside the
generated messages.
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import find_packages, setup

NAME = "dino_foresight_ros"
HERE = Path(__file__).parent


def read_version() -> str:
    """Return the version from package.xml, its only home."""
    version = ElementTree.parse(HERE / "package.xml").findtext("version")
    if version is None:
        raise SystemExit("package.xml has no <version>")
    return version


# With training and benchmark, which are links to the folders at the root.
packages = find_packages(include=[NAME, f"{NAME}.*"])

# Bundles that come with the package, where a ROS installation has them too.
bundles = [
    (f"share/{NAME}/{folder.relative_to(HERE)}", sorted(map(str, files)))
    for folder in sorted((HERE / "assets").glob("*"))
    if folder.is_dir()
    and (files := [path.relative_to(HERE) for path in folder.iterdir() if path.is_file()])
]

setup(
    name=NAME,
    version=read_version(),
    description="Forecasts what a camera will see next, in foundation-model features",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=packages,
    package_data={
        NAME: ["**/*.yaml", "**/*.html", "py.typed"],
        f"{NAME}.training": ["presets/**/*.yaml"],
    },
    data_files=bundles,
    # What the model, the readers of recordings and the command line import. rclpy and the message
    # packages are no requirements: only the nodes need them, and a robot has them from ROS 2.
    install_requires=[
        "einops>=0.7",
        "huggingface_hub>=0.25",
        "lz4>=4.0",
        "mcap>=1.1",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "opencv-python-headless>=4.8",
        "pillow>=9.0",
        "pyyaml>=6.0",
        "rosbags>=0.10",
        "rosbags-image>=0.10.4",
        "safetensors>=0.4",
        "timm>=1.0.9",
        # timm imports torchvision, which has to come from the same index as torch: a CPU-only
        # torch beside another index's torchvision fails at import.
        "torch>=2.6",
        "torchvision>=0.21",
        "tqdm>=4.60",
        "zstandard>=0.20",
    ],
    # What only some commands import; a robot that only forecasts goes without.
    extras_require={
        "training": [
            "jsonargparse>=4.40",
            "lightning-fabric>=2.5",
            "scikit-learn>=1.3",
            "tensorboard>=2.15",
        ],
        "diffusers": ["diffusers>=0.30"],
        # Heads for instances; scipy matches their queries in training.
        "instances": ["scipy>=1.10", "transformers>=4.50"],
        "onnx": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.2"],
        "foxglove": ["protobuf>=4.21"],
        "video": ["av>=12"],
        "view": ["rerun-sdk>=0.39"],
        "wandb": ["wandb>=0.16"],
    },
    entry_points={"console_scripts": ["foresight = dino_foresight_ros.cli.main:main"]},
    zip_safe=False,
)
