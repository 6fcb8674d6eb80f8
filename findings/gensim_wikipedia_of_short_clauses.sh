#!/bin/sh
# `WikiCorpus` of gensim 4.4.0 reads the dump of a Wikipedia of any language (`<LANG>wiki-...` in its documentation) and gives
# tokens of 2 to 15 letters. Chinese has no blanks, so a token is all between two punctuation marks or digits: clauses of 16
# characters and more are gone, and single characters, digits and punctuation too. Nothing says how much is lost, here two
# thirds of an article. `token_max_len`, which the documentation names for long tokens, brings the clauses back alone.
# Output seen (Python 3.11, numpy 2.4.6, scipy 1.17.1):
#   京杭大运河是世界上里程最长的古代运河，也是中国古代劳动人民创造的一项伟大工程。
#   运河全长1794千米，北起北京，南至杭州，沟通海河、黄河、淮河、长江、钱塘江五大水系。
#   隋炀帝为了把南方的粮食和布匹运往洛阳征调数百万人开凿。
#   2014年，它被列入世界遗产名录。
#   no flags: 41 of 126 characters: 运河全长 千米 北起北京 南至杭州 沟通海河 黄河 淮河 长江 钱塘江五大水系 它被列入世界遗产名录
#   token_max_len=1000: 104 of 126 characters
. "$(dirname "$0")/common.sh"
in_venv gensim==4.4.0 numpy==2.4.6 scipy==1.17.1
cat >corpus.py <<'PYTHON'
import bz2

from gensim.corpora import WikiCorpus

SENTENCES = (
    "京杭大运河是世界上里程最长的古代运河，也是中国古代劳动人民创造的一项伟大工程。",
    "运河全长1794千米，北起北京，南至杭州，沟通海河、黄河、淮河、长江、钱塘江五大水系。",
    "隋炀帝为了把南方的粮食和布匹运往洛阳征调数百万人开凿。",
    "2014年，它被列入世界遗产名录。",
)
DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="zh">
<page><title>运河</title><ns>0</ns><id>1</id><revision><id>2</id><text>%s</text></revision></page>
</mediawiki>
"""

if __name__ == "__main__":
    with bz2.open("zhwiki-pages-articles.xml.bz2", "wt", encoding="utf-8") as file:
        file.write(DUMP % "\n".join(SENTENCES))
    print(*SENTENCES, sep="\n")
    characters = sum(map(len, SENTENCES))
    for flags in ({}, {"token_max_len": 1000}):
        corpus = WikiCorpus("zhwiki-pages-articles.xml.bz2", processes=1, dictionary={}, article_min_tokens=1, **flags)
        (tokens,) = corpus.get_texts()
        shown = ", ".join(f"{name}={value}" for name, value in flags.items()) or "no flags"
        print(f"{shown}: {sum(map(len, tokens))} of {characters} characters", "" if flags else f": {' '.join(tokens)}", sep="")
PYTHON
export PYTHONUTF8=1
python -W ignore corpus.py >seen 2>log || { cat log; exit 1; }
expect seen
