"""What pyproject.toml cannot say: the files of config/ that the code reads are installed as pretrain/config/.

python -m pip install .          # or, for work on the code: python -m pip install -e .
"""

from setuptools import find_packages, setup

PACKAGES = ("distill", "ernie", "finetune", "pretrain", "propeller", "reader")

if __name__ == "__main__":
    setup(
        packages=[*find_packages(include=[*PACKAGES, *(f"{name}.*" for name in PACKAGES)]), "pretrain.config"],
        package_dir={"pretrain.config": "config"},
        package_data={
            "ernie": ["operators/*.cc", "operators/*.h", "operators/README.md"],
            "finetune": ["page/*", "serving/page/*"],
            "pretrain.config": ["connectives_*.json", "stop_words_zh.txt"],
        },
    )
