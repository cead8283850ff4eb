"""isoproof: does it really isolate?"""
