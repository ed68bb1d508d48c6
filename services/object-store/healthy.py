"""Health check of the image object-store: 0 when the server answers, and refuses a caller without keys."""

import sys
import urllib.error
import urllib.request

REFUSALS = range(400, 500)

try:
    urllib.request.urlopen("http://127.0.0.1:9000/", timeout=4).close()
except urllib.error.HTTPError as error:
    sys.exit(error.code not in REFUSALS)
except OSError as error:
    sys.exit(str(error))
sys.exit("the server gave its list of buckets to a caller without keys")
