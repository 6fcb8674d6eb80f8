#!/bin/sh
# Chinese Wikipedia writes words that differ between its regions as -{zh-hans:计算机;zh-hant:電腦}-, of which a reader sees one
# (mediawiki.org, "Writing systems/Syntax"). wikiextractor 3.1.0, which "extracts and cleans text", and mwparserfromhell 0.7.2,
# whose `strip_code` promises text "without unprintable code", take bold, links and templates away and leave this markup as
# it is, with both words and the names of the variants, hidden rules (-{H|...}-) too. From such a corpus a model learns
# "zh", "hans" and braces in the middle of sentences.
# Output seen (Python 3.11):
#   wikitext: '''北京'''的-{zh-hans:计算机;zh-hant:電腦}-[[工业|产业]]{{fact}}用-{干}-燥机。-{H|zh-cn:硬件;zh-tw:硬體}-
#   wikiextractor: 北京的-{zh-hans:计算机;zh-hant:電腦}-产业用-{干}-燥机。-{H|zh-cn:硬件;zh-tw:硬體}-
#   mwparserfromhell: 北京的-{zh-hans:计算机;zh-hant:電腦}-产业用-{干}-燥机。-{H|zh-cn:硬件;zh-tw:硬體}-
. "$(dirname "$0")/common.sh"
in_venv wikiextractor==3.1.0 mwparserfromhell==0.7.2
cat >dump.py <<'PYTHON'
WIKITEXT = (
    "'''北京'''的-{zh-hans:计算机;zh-hant:電腦}-[[工业|产业]]{{fact}}用-{干}-燥机。-{H|zh-cn:硬件;zh-tw:硬體}-"
)

if __name__ == "__main__":
    print(
        f"""<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="zh">
  <siteinfo>
    <base>https://example.org/wiki/</base>
    <namespaces>
      <namespace key="10" case="first-letter">Template</namespace>
    </namespaces>
  </siteinfo>
  <page>
    <title>北京</title>
    <ns>0</ns>
    <id>1</id>
    <revision>
      <id>2</id>
      <text xml:space="preserve">{WIKITEXT}</text>
    </revision>
  </page>
</mediawiki>"""
    )
PYTHON
cat >texts.py <<'PYTHON'
import json

import mwparserfromhell
from dump import WIKITEXT

print("wikitext:", WIKITEXT)
with open("out/AA/wiki_00", encoding="utf-8") as file:
    print("wikiextractor:", json.loads(file.readline())["text"].strip())
print("mwparserfromhell:", mwparserfromhell.parse(WIKITEXT).strip_code().strip())
PYTHON
export PYTHONUTF8=1
python dump.py >dump.xml
python -m wikiextractor.WikiExtractor --json --processes 1 -o out dump.xml >log 2>&1 || { cat log; exit 1; }
python texts.py >seen
expect seen
