"""A filter that keeps everything until it has seen the end must not be waited for."""

import pytest

from harness.apps import serve
from harness.nginx import BUILT_WITH

GIF = (b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00"
       b"\x01\x00\x01\x00\x00\x02\x02D\x01\x00;")


@pytest.mark.skipif("http_image_filter_module" not in BUILT_WITH or "=dynamic" in BUILT_WITH,
                    reason="nginx without image_filter")
def test_image_filter(nginx):
    server = serve(nginx, f"""
        def at_image(environ, start_response):
            start_response("200 OK", [("Content-Type", "image/gif")])
            return Body({GIF[:20]!r}, {GIF[20:]!r})
        """, "location / { image_filter size; send_timeout 5s; wsgi_pass app.py; }")
    assert server.get("/image").json() == {"img": {"width": 1, "height": 1, "type": "gif"}}
