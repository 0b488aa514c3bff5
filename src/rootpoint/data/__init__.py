"""Sample photos, and photos of the user's own opened with care."""

from rootpoint.data.opening import open_photo
from rootpoint.data.sample import Photo, photos

__all__ = ["Photo", "open_photo", "photos"]
