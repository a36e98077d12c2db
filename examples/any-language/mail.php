<?php
// Does the jobs of the tube mail; README.md says how to run it.
$mail = json_decode(stream_get_contents(STDIN), true);
if (!isset($mail['to'])) {
    fwrite(STDERR, "no recipient\n");
    exit(100); // rejected: no retry would help
}
$outbox = getenv('OUTBOX');
if (!is_dir($outbox)) {
    fwrite(STDERR, "there is no folder $outbox\n");
    exit(75); // again in a minute
}
$file = $outbox . '/' . getenv('TUBEHERD_JOB_ID') . '.json';
exit(file_put_contents($file, json_encode($mail)) === false ? 1 : 0); // 1 is tried again as retries are
