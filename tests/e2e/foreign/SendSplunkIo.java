import com.google.gson.JsonObject;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.PipelineResult;
import org.apache.beam.sdk.io.splunk.SplunkEvent;
import org.apache.beam.sdk.io.splunk.SplunkIO;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.MapElements;
import org.apache.beam.sdk.values.TypeDescriptor;

/** Writes as a Beam pipeline with the Java SplunkIO does: arguments are url, token, number of events. */
public final class SendSplunkIo {
  public static void main(String[] arguments) {
    Pipeline pipeline = Pipeline.create();
    pipeline
        .apply(Create.of(IntStream.range(0, Integer.parseInt(arguments[2])).boxed().collect(Collectors.toList())))
        .apply(MapElements.into(TypeDescriptor.of(SplunkEvent.class)).via(SendSplunkIo::event))
        .apply(SplunkIO.write(arguments[0], arguments[1])
            .withBatchCount(1) // a larger batch that is never full stays in state: the direct runner drops it
            .withEnableGzipHttpCompression(true));
    PipelineResult.State state = pipeline.run().waitUntilFinish();
    System.exit(state == PipelineResult.State.DONE ? 0 : 1);
  }

  private static SplunkEvent event(Integer number) {
    JsonObject fields = new JsonObject();
    fields.addProperty("color", "green");
    return SplunkEvent.newBuilder()
        .withTime(1_700_000_000_250L + 1000 * number)
        .withHost("web-4")
        .withSource("shop")
        .withSourceType("beam")
        .withIndex("main")
        .withFields(fields)
        .withEvent("line " + number)
        .create();
  }
}
