"""Builders: how a wheel is made from a source distribution, and by which of several ways.

Each is a value with a name, a word on what it cannot do, and one method that builds. They are tried in the order that
the application configures.
"""
