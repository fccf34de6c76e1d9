"""What is measured besides workloads: servers in a situation. `SCENES` has a function for each, which takes the run
(speed/session.py) and gives what goes to results["scenes"].

    slowreaders.py      200 visitors who read slowly, beside one who is fast
    staticbeside.py     a static file beside requests that wait
    memory.py           PSS: idle, of each worker, of connections that are kept alive
    flavours.py         what the library costs that Python is in
    turns.py            rounds with one server at a time
    visitors.py         the visitors of these scenes

Each gives {"what": one line, "rows": {contender: [a dictionary for each round]}}; its file tells what is in them.
"""

from .flavours import python
from .memory import memory
from .slowreaders import slowreaders
from .staticbeside import staticbeside

SCENES = {scene.__name__: scene for scene in (slowreaders, staticbeside, memory, python)}
