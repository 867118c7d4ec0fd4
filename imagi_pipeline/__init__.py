"""imagi_pipeline: a CSV of image URLs comes in, and goes back with the URLs of compressed copies.

The way of a request, and where each step lives::

    POST /imagi-process/upload_csv/  or a CSV dropped by hand            gateway/uploads.py
      -> landing/                 where both lie, complete               core/storage/landing.py
      -> landing_folder_sensor    claims it, one run per request         orchestration/sensors.py
      -> uploaded_csv             finds every image reference            core/csv/reading.py
      -> compression_report       fetches and compresses each image      core/engine.py
           -> compressed_image    one partition per distinct URL         orchestration/progress.py
      -> enriched_csv             the CSV with the compressed URLs       core/csv/enriching.py
"""
