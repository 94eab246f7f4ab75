import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Reads a PostgreSQL slot with Debezium's embedded engine and prints each event as one JSON line:
 * {"key": …, "value": …} with schemas off, everything else at its default.
 *
 * <p>Arguments: host port database user password slot publication tables(comma list) events.
 * Ends after that many events (tombstones count) or 120 s, whatever comes first.
 */
public class Events {
    public static void main(String[] a) throws Exception {
        long total = Long.parseLong(a[8]);
        Properties p = new Properties();
        p.setProperty("name", "penstock");
        p.setProperty("connector.class", "io.debezium.connector.postgresql.PostgresConnector");
        p.setProperty("offset.storage", "org.apache.kafka.connect.storage.MemoryOffsetBackingStore");
        p.setProperty("offset.flush.interval.ms", "1000");
        p.setProperty("database.hostname", a[0]);
        p.setProperty("database.port", a[1]);
        p.setProperty("database.dbname", a[2]);
        p.setProperty("database.user", a[3]);
        p.setProperty("database.password", a[4]);
        p.setProperty("plugin.name", "pgoutput");
        p.setProperty("slot.name", a[5]);
        p.setProperty("publication.name", a[6]);
        p.setProperty("publication.autocreate.mode", "disabled");
        p.setProperty("topic.prefix", "penstock");
        p.setProperty("table.include.list", a[7]);
        p.setProperty("snapshot.mode", "no_data");
        p.setProperty("include.unknown.datatypes", "true");
        p.setProperty("skipped.operations", "none");
        p.setProperty("converter.schemas.enable", "false");
        p.setProperty("key.converter.schemas.enable", "false");
        p.setProperty("value.converter.schemas.enable", "false");

        PrintStream lines = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        AtomicLong events = new AtomicLong();
        CountDownLatch done = new CountDownLatch(1);
        DebeziumEngine.ChangeConsumer<ChangeEvent<String, String>> sink = new DebeziumEngine.ChangeConsumer<>() {
            @Override
            public void handleBatch(List<ChangeEvent<String, String>> batch,
                    DebeziumEngine.RecordCommitter<ChangeEvent<String, String>> committer)
                    throws InterruptedException {
                for (ChangeEvent<String, String> event : batch) {
                    lines.println("{\"key\":" + event.key() + ",\"value\":" + event.value() + "}");
                    committer.markProcessed(event);
                }
                lines.flush();
                committer.markBatchFinished();
                if (events.addAndGet(batch.size()) >= total) {
                    done.countDown();
                }
            }
        };
        DebeziumEngine<ChangeEvent<String, String>> engine = DebeziumEngine.create(Json.class)
                .using(p)
                .notifying(sink)
                .using((success, message, error) -> {
                    if (!success) {
                        System.err.println("engine: " + message);
                        Runtime.getRuntime().halt(1);
                    }
                })
                .build();
        ExecutorService executor = Executors.newSingleThreadExecutor();
        executor.execute(engine);
        done.await(120, TimeUnit.SECONDS);
        engine.close();
        executor.shutdownNow();
        System.exit(events.get() >= total ? 0 : 1);
    }
}
