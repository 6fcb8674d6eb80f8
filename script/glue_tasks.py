"""What GLUE fixes: the words its labels stand for, and the names of the leaderboard's files.

from script.glue_tasks import LABELS, LEADERBOARD
LABELS["RTE"].index("entailment")                   # 1: the class in the converted data
"""

# Class by class, in the order of 2019, which checkpoints of 2019 have. Tasks that are not here have "0" and "1".
LABELS = {
    "MNLI": ("contradiction", "neutral", "entailment"),
    "QNLI": ("not_entailment", "entailment"),
    "RTE": ("not_entailment", "entailment"),
}

# task -> (file in the zip, prediction file of a recipe's run, the rows the leaderboard wants).
LEADERBOARD = {
    "CoLA": [("CoLA.tsv", "test_out.tsv", 1063)],
    "SST-2": [("SST-2.tsv", "test_out.tsv", 1821)],
    "MRPC": [("MRPC.tsv", "test_out.tsv", 1725)],
    "STS-B": [("STS-B.tsv", "test_out.tsv", 1379)],
    "QQP": [("QQP.tsv", "test_out.tsv", 390965)],
    "MNLI": [
        ("MNLI-m.tsv", "test_out_1.tsv", 9796),
        ("MNLI-mm.tsv", "test_out_2.tsv", 9847),
        ("AX.tsv", "diagnostic_out.tsv", 1104),
    ],
    "QNLI": [("QNLI.tsv", "test_out.tsv", 5463)],
    "RTE": [("RTE.tsv", "test_out.tsv", 3000)],
    "WNLI": [("WNLI.tsv", "test_out.tsv", 146)],
}
