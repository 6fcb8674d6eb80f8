"""Sentence search: index film-review sentences and find those that mean nearly the same as a question.

python examples/sentence_search.py
"""

from common import options, resource

from finetune.search.args import BuildFlags
from finetune.search.build import build
from finetune.search.query import Searcher

if __name__ == "__main__":
    args = options(__doc__, "sentence_search")
    model = args.model or resource("encoder")
    data = args.data or resource("sentiment") / "SST-2"
    flags = BuildFlags(model=str(model), data_set=str(data / "dev.tsv"), search_index=str(args.out), overwrite=True)
    with Searcher(build(flags)) as search:
        questions = ("The actors are wonderful.", "The story makes no sense.")
        for question, found in zip(questions, search(questions, top=3)):
            print(question)
            for result in found:
                print(f"  {result['score']:.2f}  {result['text']}")
