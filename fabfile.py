from deploy import ns

__all__ = ["ns"]
