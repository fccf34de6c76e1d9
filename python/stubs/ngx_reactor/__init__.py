"""Stands for the module of this name where there is no nginx; its types are in the .pyi files beside this one."""

raise ImportError("ngx_reactor exists only inside an nginx worker that runs mod_wsgi", name="ngx_reactor")
