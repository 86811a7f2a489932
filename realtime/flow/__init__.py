"""How one thread hands work to the next, and how it is measured: links, pipeline, meter."""
