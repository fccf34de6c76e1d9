"""summary.py FOLDER: adds up the results that pytest (JUnit XML) and cargo test (text) left there."""

import pathlib
import re
import sys
import xml.etree.ElementTree

passed = failed = skipped = 0
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    good = bad = left_out = 0
    if path.suffix == ".xml":
        for suite in xml.etree.ElementTree.parse(path).getroot().iter("testsuite"):
            number = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
            bad += number["failures"] + number["errors"]
            left_out += number["skipped"]
            good += number["tests"] - number["failures"] - number["errors"] - number["skipped"]
    else:
        result = r"test result: \S+ (\d+) passed; (\d+) failed; (\d+) ignored"
        for match in re.finditer(result, path.read_text(errors="replace")):
            good += int(match[1])
            bad += int(match[2])
            left_out += int(match[3])
    print(f"== {path.stem}: {good} passed, {bad} failed, {left_out} skipped")
    passed += good
    failed += bad
    skipped += left_out
print(f"== in all: {passed} passed, {failed} failed, {skipped} skipped")
