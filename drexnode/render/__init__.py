"""Files that run a node of a home under systemd, in a container, or on Kubernetes.

Guarantees: what is rendered follows from the home's configuration and the options alone; no secret is ever in
it; no file that exists is overwritten. Each kind is a function to `{path below the folder: text}`.
"""
