"""Names in Chinese news: train a tagger and find persons, places and organisations in a sentence.

python examples/chinese_ner.py

The registry has no Chinese encoder, so this starts from random weights and finds only some of the names. Give a
released model for better results, as --model ERNIE_1.0_max-len-512, or the encoder that
``sh script/zh_task/pretrain.sh --full`` makes: --model output/zh_encoder/model
"""

from common import options, resource

import finetune

if __name__ == "__main__":
    args = options(__doc__, "chinese_ner")
    model = args.model or resource("random-encoder")
    data = args.data or resource("entities", rows=8000) / "msra_ner"
    run = finetune.train(
        "sequence_label", model=str(model), train_set=f"{data}/train.tsv", dev_set=f"{data}/dev.tsv",
        label_map_config=f"{data}/label_map.json", chunk_scheme="IOB", max_seq_len=96, batch_size=16,
        learning_rate=1e-3, epoch=args.epoch, checkpoints=str(args.out),
    )  # fmt: skip
    print(f"F1 on held-out sentences: {run.scores['f1']:.3f}")
    (answer,) = finetune.load(run.folder / "best")(["江泽民主席在北京会见了法国总统希拉克。"])
    for entity in answer["entities"]:
        print(f"{entity['type']}  {entity['start']}-{entity['end']}  {entity['text']}")
