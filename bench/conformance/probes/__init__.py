"""The rules of PEP 3333 and of HTTP that are asked of servers, one probe a rule.

A probe gets a server (conformance/asked.py) and returns when the rule holds; it calls `fail("remark")` when it does
not, and `skip("remark")` where it cannot be asked. A rule is entered where its probe is defined, and so the order of
the imports here is the order of the page.
"""

from conformance.probes import call_and_environ  # noqa: F401
from conformance.probes import streams  # noqa: F401
from conformance.probes import start_response  # noqa: F401
from conformance.probes import body_blocks  # noqa: F401
from conformance.probes import body_close_and_write  # noqa: F401
from conformance.probes import body_http  # noqa: F401
from conformance.probes import file_wrapper  # noqa: F401
from conformance.probes.rules import PROBES, SECTIONS  # noqa: F401
