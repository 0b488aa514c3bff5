"""The interactive page: `rootpoint serve`."""
