"""Run in a process of their own (`make test` does): after all the other tests, with every inference library
loaded, the first interrupted run in the same process crashes inside a native library.
"""
