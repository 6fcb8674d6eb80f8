"""Tagged text of any tag set -> files of run_sequence_labeling.py, with a label map.

    python script/convert_tagged.py train.bio train.tsv
    python script/convert_tagged.py train.txt dev.txt test.txt OUT_DIR --scheme IOBES
    python script/convert_tagged.py weiboNER_2nd_conll.train train.tsv --strip_numbers true

A line is a token, columns that are passed over, and its tag, with tabs or blanks between; a blank line ends a sentence
and -DOCSTART- is none. A file with a header of text_a and label is taken too, and so are the exports of label-studio
(JSON, JSON-MIN) and doccano (JSON lines), see script/tagged_exports.py. label_map.json beside the files holds the
tags of all of them. --scheme renames BIO, BIOES, BMES and BILOU tags so that the entities stay the same; none keeps the
tags as they are, as for parts of speech.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository

from propeller.errors import UserError, exit_on_user_error
from propeller.flags import FlagParser, boolean
from reader.row_encoder import load_label_map
from reader.tagging.joined import joint_of as joint_of_text
from script import label_maps, tagged_exports, tagged_text
from script.conversion import ALLOW_REFUSED, Refused, Report
from script.conversion_check import check_tagged
from script.tagged_checks import check_not_prose, kind_of, scheme_of, strange_tag
from script.tagged_text import JOINT

LABEL_MAP = "label_map.json"
SPACED = re.compile(r"\s")
SCHEMES = ("auto", "none", *tagged_text.WRITTEN)


def arguments():
    """The flags."""
    parser = FlagParser(prog="python script/convert_tagged.py", description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="+", metavar="FILE", help="files of tagged text")
    parser.add_argument("output", metavar="OUT", help="a .tsv for one file; else a folder")
    parser.add_argument(
        "--scheme",
        default="auto",
        choices=SCHEMES,
        help="the chunk scheme to write; auto: IOB where tags have prefixes, else none (default auto)",
    )
    parser.add_argument(
        "--strip_numbers",
        type=boolean,
        help="whether the number after each character, as in the weibo data, is taken off; such files need the flag",
    )
    parser.add_argument("--token_column", type=int, default=1, help="which column the token is, from 1 (default 1)")
    parser.add_argument("--label_map", help="use this label map (default: make label_map.json of the tags found)")
    parser.add_argument(ALLOW_REFUSED, action="store_true", help="convert a file even if most of its rows are refused")
    return parser


def read(paths, strip, column=1):
    """{path: its sentences}.

    Raises UserError: nothing in a file, texts or numbers for its tokens, or numbers after its characters.
    """
    found = {}
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: no such file; check the path")
        export = tagged_exports.is_export(path)
        sentences = list(tagged_exports.sentences(path) if export else tagged_text.sentences(path, column - 1))
        if not any(sentence.tokens for sentence in sentences):
            raise UserError(f"{path}: no line has a token and a tag; give a file with both, one token per line")
        if column == 1 and tagged_text.counted(sentences):
            raise UserError(f"{path}: its first column numbers the tokens; give --token_column 2, or where they stand")
        text = tagged_text.unsplit(sentences)
        if text is not None:
            raise UserError(
                f"{path}: its tokens are whole texts ({text[: tagged_text.LONGEST_WORD]}...) with one tag each, as in "
                "label-studio's export in CoNLL's form: export JSON there and convert that, or give a token per line"
            )
        if strip:
            sentences = [each._replace(tokens=tagged_text.without_numbers(each.tokens)) for each in sentences]
        elif strip is None and tagged_text.numbered(sentences):
            raise UserError(
                f"{path}: its characters have numbers after them ({sentences[0].tokens[0]}); give --strip_numbers true "
                "to take them off, or false to keep them"
            )
        found[path] = sentences
    return found


def joint_of(sentences):
    """What separates the tokens of a file: a blank, or 0x02 where one has a blank or is empty, and for CJK text."""
    cells = {cell for each in sentences if not each.problem for cell in (*each.tokens, *each.tags)}
    return JOINT if any(not cell or SPACED.search(cell) for cell in cells) or not joint_of_text(cells) else " "


def rows(sentences, known):
    """(first line, [tokens, tags] or Refused) of each sentence."""
    joint = joint_of(sentences)
    for line, tokens, tags, problem in sentences:
        if problem is None and known is not None and (odd := [tag for tag in tags if tag not in known]):
            problem = Refused(f"unknown tag {odd[0][:20]!r}")
        if problem is None and any(JOINT in token for token in tokens):
            problem = Refused("a token holds the byte 0x02")
        yield line, problem or [joint.join(tokens), joint.join(tags)]


def renamed(found, scheme, outside):
    """The sentences with their tags in the scheme."""
    if scheme is None:
        return found
    return {
        path: [each if each.problem else each._replace(tags=tagged_text.renamed(each.tags, scheme, outside))
               for each in sentences]
        for path, sentences in found.items()
    }  # fmt: skip


def label_map_of(found):
    """tag -> class of the tags of all files, and of O, which padding has if no token does."""
    tags = (tag for sentences in found.values() for each in sentences if not each.problem for tag in each.tags)
    mapping = tagged_text.label_map(tags)
    mapping.setdefault(tagged_text.OUTSIDE, len(mapping))
    return mapping


def main(argv):
    """Convert; returns the exit status."""
    args = arguments().parse_args(argv)
    sources, target = list(map(Path, args.inputs)), Path(args.output)
    one = target.suffix == ".tsv"
    if one and len(sources) > 1:
        raise UserError(f"{target}: one file cannot hold {len(sources)}; name a folder")
    targets = {path: target if one else target / f"{path.stem}.tsv" for path in sources}
    if len(set(targets.values())) < len(sources):
        raise UserError(f"{target}: two of the files would have one name there; convert them apart")
    if args.token_column < 1:
        raise UserError(f"--token_column {args.token_column}: give 1 or more")
    found = read(sources, args.strip_numbers, args.token_column)
    if args.scheme != "none":
        for path, sentences in found.items():
            check_not_prose(path, sentences)
    scheme, outside = scheme_of(found, args.scheme)
    found = renamed(found, scheme, outside)
    folder = target.parent if one else target
    own = label_map_of(found)
    if args.label_map:
        mapping = load_label_map(args.label_map)
        odd = strange_tag(mapping, scheme)
        if odd is not None:
            raise UserError(
                f"{args.label_map}: {odd!r} is not a tag of the scheme {scheme}, which is written; correct it, or "
                "leave --label_map out to have a label map made"
            )
    else:
        mapping = label_maps.of_one_set(folder / LABEL_MAP, own, partial(kind_of, scheme=scheme))
    report = Report(args.allow_refused, "sentence")
    for path, sentences in found.items():
        with report.file(path):
            report.convert(
                path, targets[path], ("text_a", "label"), rows(sentences, mapping),
                check=lambda made: check_tagged(made, mapping, scheme),
            )  # fmt: skip
    named = "IO" if scheme is None and not tagged_text.is_chunked(mapping) else scheme
    flags = f"; train with --chunk_scheme {named}" if named not in (None, "IOB") else ""
    if args.label_map:
        print(f"{args.label_map}: {len(mapping)} tags{flags}")
    elif len(report.broken) < len(found):
        label_maps.write(folder / LABEL_MAP, mapping, "tag", own, flags)
    return report.finish(sources[0])


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
