"""The module, and nginx by itself, which everything is compared with."""

from speed.server import Nginx
from speed.settings import setting

from .contender import APPS, Contender, Unable


class OfNginx(Contender):
    """A contender that is one nginx, with or without the module."""

    module = None
    http = ""

    def __init__(self, place, setup):
        super().__init__(place, setup)
        self.server = Nginx(place.nginx, self.module, place.server_cores, self.locations() + setup.locations,
                            http=self.http, connections=setup.connections, workers=setup.workers, tls=setup.tls,
                            name=self.name)
        self.port, self.scheme, self.processes = self.server.port, self.server.scheme, self.server.processes

    def locations(self):
        raise NotImplementedError

    def launch(self):
        self.server.launch()
        self.launched = self.server.launched

    def log_text(self):
        return self.server.log_text()

    def version(self):
        return self.server.version()


class Return200(OfNginx):
    name = "return-200"
    what = "nginx with the module loaded, but not asked: return 200 with 13 bytes"
    has_module = True

    def __init__(self, place, setup):
        self.module = place.module if self.has_module else None
        super().__init__(place, setup)

    def locations(self):
        return '        location / { return 200 "Hello, World!"; }\n'


class StaticFile(OfNginx):
    name = "static-file"
    what = "nginx by itself: a static file of the same size"

    def locations(self):
        if not self.setup.static:
            raise Unable("there is no file of that size")
        return f'        location = /file {{ alias "{self.setup.static}"; }}\n'

    def url(self, path):
        # A path that ends in a slash is a folder for nginx, whatever it is an alias of.
        return super().url("/file")


class Module(OfNginx):
    name = "module"
    what = "nginx mod_wsgi, called by the event loop"
    threads = 0

    def __init__(self, place, setup):
        self.module = place.module
        self.http = f'wsgi_python_executable "{place.python}"; wsgi_python_path "{APPS}";' + "".join(
            f' wsgi_env {name} "{value}";' for name, value in {**setup.env, "PYTHONDONTWRITEBYTECODE": "1"}.items())
        super().__init__(place, setup)

    def locations(self):
        threads = f"wsgi_threads {self.threads}; " if self.threads else ""
        return f'        location / {{ {threads}wsgi_pass "{self.setup.app}"; }}\n'

    def version(self):
        return f"{super().version()}; {self.flavour()}"


class ModuleThreads1(Module):
    name = "module-threads1"
    what = "nginx mod_wsgi, one thread"
    threads = 1


class ModuleThreads8(Module):
    name = "module-threads8"
    what = "nginx mod_wsgi, eight threads"
    threads = 8


class ModuleThreads64(Module):
    name = "module-threads64"
    what = "nginx mod_wsgi, 64 threads"
    threads = 64


class ModuleFast(Module):
    """The same source, built against a libpython with profile-guided and link-time optimisation."""

    name = "module-fast"
    what = "nginx mod_wsgi with an optimised libpython"

    def __init__(self, place, setup):
        super().__init__(place, setup)
        module = setting("WSGI_MODULE_FAST")
        if not module:
            raise Unable("WSGI_MODULE_FAST names no module that was built against an optimised libpython")
        self.server.module = module
