"""Renderers of the one result list, one module for each format; none of them computes a verdict."""
