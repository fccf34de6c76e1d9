"""What is measured besides workloads: servers in a situation. `SCENES` has two functions for each, which take the run
(speed/session.py): one gives what goes to results["scenes"], the other an estimate of how many seconds that takes.

    slowreaders.py      200 visitors who read slowly, beside one who is fast
    staticbeside.py     a static file beside requests that wait
    memory.py           PSS: idle, of each worker, of connections that are kept alive
    flavours.py         what the library costs that Python is in
    turns.py            rounds with one server at a time
    visitors.py         the visitors of these scenes

Each gives {"what": one line, "rows": {contender: [a dictionary for each round]}}; its file tells what is in them.
"""

from . import flavours, memory, slowreaders, staticbeside

SCENES = {
    "slowreaders": (slowreaders.slowreaders, slowreaders.lasts),
    "staticbeside": (staticbeside.staticbeside, staticbeside.lasts),
    "memory": (memory.memory, memory.lasts),
    "python": (flavours.python, flavours.lasts),
}
