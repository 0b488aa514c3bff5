"""Sample photos, and photos of the user's own opened with care."""

from rootpoint.data.photos import Photo, open_photo, photos

__all__ = ["Photo", "open_photo", "photos"]
